// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {Base, Wallet} from "./Base.sol";

contract InferenceEscrowTest is Base {
    uint256 internal constant KEY = 0xB0B;
    address internal payer;
    uint256 internal deadline;

    function setUp() public override {
        super.setUp();
        payer = vm.addr(KEY);
        deadline = block.timestamp + 30 days;
        give(payer, 1000 * OPEN);
    }

    function put(uint128 amount) internal {
        vm.prank(payer);
        token.approve(address(escrow), amount);
        vm.prank(payer);
        escrow.deposit(amount);
    }

    function signed(uint256 key, uint128 spent, uint256 cap)
        internal
        view
        returns (InferenceEscrow.Redemption[] memory list)
    {
        address from = vm.addr(key);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, escrow.authorisationDigest(from, cap, deadline));
        list = new InferenceEscrow.Redemption[](1);
        list[0] = InferenceEscrow.Redemption(from, spent, cap, deadline, abi.encodePacked(r, s, v));
    }

    function redeem(InferenceEscrow.Redemption[] memory list) internal returns (uint128) {
        vm.prank(OPERATOR);
        return escrow.redeem(list);
    }

    function permit(uint128 amount) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typehash, payer, address(escrow), amount, 0, deadline));
        return vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
    }

    // --- deployment

    function test_wiringIsChecked() public {
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.ZeroAddress.selector));
        new InferenceEscrow(token, distributor, address(0), DELAY);
        IERC20 other = new OpenToken(TREASURY, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.TokenMismatch.selector));
        new InferenceEscrow(other, distributor, OPERATOR, DELAY);
    }

    // --- deposits

    function test_depositsAddUp() public {
        put(3 * OPEN);
        vm.prank(payer);
        token.approve(address(escrow), 2 * OPEN);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit InferenceEscrow.Deposited(payer, 2 * OPEN, 5 * OPEN);
        vm.prank(payer);
        escrow.deposit(2 * OPEN);
        eq(escrow.balanceOf(payer), 5 * OPEN);
        eq(token.balanceOf(address(escrow)), 5 * OPEN);
    }

    function test_depositForCreditsThePayer() public {
        vm.prank(TREASURY);
        token.approve(address(escrow), OPEN);
        vm.prank(TREASURY);
        escrow.depositFor(payer, OPEN);
        eq(escrow.balanceOf(payer), OPEN);
        eq(escrow.balanceOf(TREASURY), 0);
    }

    function test_emptyDepositsAndPayersAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.ZeroAmount.selector));
        escrow.deposit(0);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.ZeroAddress.selector));
        escrow.depositFor(address(0), 1);
    }

    function test_aRelayerDepositsByPermit() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(OPEN);
        escrow.depositWithPermit(payer, OPEN, deadline, v, r, s);
        eq(escrow.balanceOf(payer), OPEN);
    }

    function test_aFrontRunPermitDoesNotStopTheDeposit() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(OPEN);
        token.permit(payer, address(escrow), OPEN, deadline, v, r, s);
        escrow.depositWithPermit(payer, OPEN, deadline, v, r, s);
        eq(escrow.balanceOf(payer), OPEN);
    }

    function test_aWrongPermitTakesNothing() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(OPEN);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(escrow), 0, 2 * OPEN)
        );
        escrow.depositWithPermit(payer, 2 * OPEN, deadline, v, r, s);
    }

    // --- deposits by signed transfer (ERC-3009)

    function authorisation(uint256 key, string memory kind, uint128 amount)
        internal
        view
        returns (InferenceEscrow.TransferAuthorisation memory a)
    {
        string memory fields =
            "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        bytes32 typehash = keccak256(bytes(string.concat(kind, fields)));
        a.validBefore = deadline;
        a.nonce = keccak256("any 32 bytes");
        bytes32 structHash =
            keccak256(abi.encode(typehash, payer, address(escrow), amount, a.validAfter, a.validBefore, a.nonce));
        (a.v, a.r, a.s) = vm.sign(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
    }

    function test_aRelayerDepositsBySignedTransferOnce() public {
        InferenceEscrow.TransferAuthorisation memory a = authorisation(KEY, "ReceiveWithAuthorization", OPEN);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit InferenceEscrow.Deposited(payer, OPEN, OPEN);
        escrow.depositWithAuthorization(payer, OPEN, a);
        eq(escrow.balanceOf(payer), OPEN);
        eq(token.balanceOf(address(escrow)), OPEN);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, payer, a.nonce));
        escrow.depositWithAuthorization(payer, OPEN, a);
    }

    function test_nobodyDepositsWhatWasNotSignedSo() public {
        bytes memory invalid = abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector);
        InferenceEscrow.TransferAuthorisation memory a = authorisation(KEY, "ReceiveWithAuthorization", OPEN);
        vm.expectRevert(invalid);
        escrow.depositWithAuthorization(payer, 2 * OPEN, a);
        a = authorisation(KEY + 1, "ReceiveWithAuthorization", OPEN);
        vm.expectRevert(invalid);
        escrow.depositWithAuthorization(payer, OPEN, a);
        a = authorisation(KEY, "TransferWithAuthorization", OPEN);
        vm.expectRevert(invalid);
        escrow.depositWithAuthorization(payer, OPEN, a);
        a = authorisation(KEY, "ReceiveWithAuthorization", 0);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.ZeroAmount.selector));
        escrow.depositWithAuthorization(payer, 0, a);
    }

    /// The signed transfer cannot be taken away from the escrow and brought in uncredited.
    function test_aSignedTransferToTheEscrowIsTheEscrowsAlone() public {
        InferenceEscrow.TransferAuthorisation memory a = authorisation(KEY, "ReceiveWithAuthorization", OPEN);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(escrow)));
        token.receiveWithAuthorization(payer, address(escrow), OPEN, 0, deadline, a.nonce, a.v, a.r, a.s);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009InvalidAuthorizationTime.selector, 0, deadline));
        escrow.depositWithAuthorization(payer, OPEN, a);
    }

    // --- redemption

    function test_redemptionMovesOnlyTheIncrease() public {
        put(10 * OPEN);
        eq(redeem(signed(KEY, 3 * OPEN, 8 * OPEN)), 3 * OPEN);
        eq(redeem(signed(KEY, 3 * OPEN, 8 * OPEN)), 0);
        eq(redeem(signed(KEY, 2 * OPEN, 8 * OPEN)), 0);
        eq(redeem(signed(KEY, 8 * OPEN, 8 * OPEN)), 5 * OPEN);
        eq(distributor.funded(), 8 * OPEN);
        eq(token.balanceOf(address(distributor)), 8 * OPEN);
        eq(escrow.balanceOf(payer), 2 * OPEN);
    }

    function test_onlyTheOperatorRedeems() public {
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.NotOperator.selector, address(this)));
        escrow.redeem(new InferenceEscrow.Redemption[](0));
    }

    function test_neitherCapNorDepositIsExceeded() public {
        put(10 * OPEN);
        InferenceEscrow.Redemption[] memory list = signed(KEY, 9 * OPEN, 8 * OPEN);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.CapExceeded.selector, payer, 9 * OPEN, 8 * OPEN));
        redeem(list);
        list = signed(KEY, 11 * OPEN, 20 * OPEN);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.DepositExceeded.selector, payer, 11 * OPEN, 10 * OPEN));
        redeem(list);
    }

    function test_expiredAuthorisationsAreRefused() public {
        put(10 * OPEN);
        InferenceEscrow.Redemption[] memory list = signed(KEY, OPEN, OPEN);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.AuthorisationExpired.selector, payer, deadline));
        redeem(list);
        vm.warp(deadline);
        eq(redeem(list), OPEN);
    }

    function test_whatWasNotSignedIsRefused() public {
        put(10 * OPEN);
        InferenceEscrow.Redemption[] memory list = signed(KEY, OPEN, OPEN);
        list[0].cap = 2 * OPEN;
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.InvalidSignature.selector, payer));
        redeem(list);
        list = signed(KEY + 1, OPEN, OPEN);
        list[0].payer = payer;
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.InvalidSignature.selector, payer));
        redeem(list);
        list = signed(KEY, OPEN, OPEN);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.InvalidSignature.selector, payer));
        redeem(list);
    }

    function test_contractWalletsSignByErc1271() public {
        Wallet wallet = new Wallet();
        vm.prank(TREASURY);
        token.approve(address(escrow), OPEN);
        vm.prank(TREASURY);
        escrow.depositFor(address(wallet), OPEN);
        InferenceEscrow.Redemption[] memory list = new InferenceEscrow.Redemption[](1);
        list[0] = InferenceEscrow.Redemption(address(wallet), OPEN, OPEN, deadline, "");
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.InvalidSignature.selector, address(wallet)));
        redeem(list);
        wallet.accept(escrow.authorisationDigest(address(wallet), OPEN, deadline));
        eq(redeem(list), OPEN);
    }

    /// Spent under a signature, then delegated to code that says no, or that fails: it is redeemed all the same.
    function test_aDelegationTakesNoSignatureBack() public {
        put(10 * OPEN);
        Wallet saysNo = new Wallet();
        vm.etch(payer, abi.encodePacked(hex"ef0100", address(saysNo))); // as EIP-7702 marks an account
        eq(redeem(signed(KEY, OPEN, 8 * OPEN)), OPEN);
        vm.etch(payer, address(saysNo).code);
        eq(redeem(signed(KEY, 2 * OPEN, 8 * OPEN)), OPEN);
        InferenceEscrow.Redemption[] memory list = signed(KEY + 1, 3 * OPEN, 8 * OPEN);
        list[0].payer = payer;
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.InvalidSignature.selector, payer));
        redeem(list);
        Wallet(payer).accept(escrow.authorisationDigest(payer, 8 * OPEN, deadline)); // what its code takes counts too
        list[0].signature = "";
        eq(redeem(list), OPEN);
    }

    // --- withdrawal

    function test_withdrawalWaitsForTheDelay() public {
        put(10 * OPEN);
        vm.prank(payer);
        escrow.initiateWithdraw(4 * OPEN);
        uint64 at = uint64(block.timestamp) + DELAY;
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.WithdrawalNotReady.selector, payer, at));
        vm.prank(payer);
        escrow.finalizeWithdraw();
        pass(DELAY);
        vm.expectEmit(true, true, true, true, address(escrow));
        emit InferenceEscrow.Withdrawn(payer, 4 * OPEN, 6 * OPEN);
        vm.prank(payer);
        escrow.finalizeWithdraw();
        eq(token.balanceOf(payer), 994 * OPEN);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.NothingToWithdraw.selector, payer));
        vm.prank(payer);
        escrow.finalizeWithdraw();
    }

    function test_redemptionComesBeforeAWaitingWithdrawal() public {
        put(10 * OPEN);
        vm.prank(payer);
        escrow.initiateWithdraw(10 * OPEN);
        redeem(signed(KEY, 7 * OPEN, 10 * OPEN));
        pass(DELAY);
        vm.prank(payer);
        escrow.finalizeWithdraw();
        eq(token.balanceOf(payer), 993 * OPEN);
        eq(escrow.balanceOf(payer), 0);
    }

    function test_noMoreThanTheBalanceIsAskedFor() public {
        put(OPEN);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.InsufficientBalance.selector, payer, 2 * OPEN, OPEN));
        vm.prank(payer);
        escrow.initiateWithdraw(2 * OPEN);
    }

    function test_aRequestForNothingCancels() public {
        put(OPEN);
        vm.prank(payer);
        escrow.initiateWithdraw(OPEN);
        vm.prank(payer);
        escrow.initiateWithdraw(0);
        pass(DELAY);
        vm.expectRevert(abi.encodeWithSelector(InferenceEscrow.NothingToWithdraw.selector, payer));
        vm.prank(payer);
        escrow.finalizeWithdraw();
    }

    // --- conservation

    function testFuzz_nothingIsLostOrMade(uint128 deposited, uint128 spent, uint128 cap, uint128 back) public {
        deposited = 1 + deposited % (1000 * OPEN);
        cap = cap % (2 * deposited);
        uint128 most = cap < deposited ? cap : deposited;
        spent = most == 0 ? 0 : spent % (most + 1);
        put(deposited);
        redeem(signed(KEY, spent, cap));
        back = back % (deposited - spent + 1);
        vm.prank(payer);
        escrow.initiateWithdraw(back);
        pass(DELAY);
        if (back != 0) {
            vm.prank(payer);
            escrow.finalizeWithdraw();
        }
        eq(token.balanceOf(payer), 1000 * OPEN - deposited + back);
        eq(token.balanceOf(address(distributor)), spent);
        eq(token.balanceOf(address(escrow)), deposited - spent - back);
        eq(escrow.balanceOf(payer), deposited - spent - back);
    }
}
