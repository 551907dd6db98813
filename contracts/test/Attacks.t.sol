// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IEpochRoots} from "../src/IEpochRoots.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle} from "./Base.sol";
import {OddToken} from "./OddTokens.sol";

/// @dev Tokens that refuse, lie, take a fee or call back; nobody else may be harmed and no book may be wrong by it.
/// What is tried with proofs and signatures is in the tests of claims.
contract AttacksTest is Base {
    address internal constant CAROL = address(0xCA801);
    uint256 internal constant KEY = 0xA11CE;
    OddToken internal odd;

    function setUp() public override {
        super.setUp();
        odd = new OddToken(address(this), 1000 * OPEN);
        distributor = new RewardsDistributor(odd, terms());
        escrow = new InferenceEscrow(odd, distributor, OPERATOR, DELAY);
        odd.approve(address(distributor), type(uint256).max);
        odd.approve(address(escrow), type(uint256).max);
        odd.transfer(CAROL, BOND);
        vm.prank(CAROL);
        odd.approve(address(distributor), BOND);
    }

    /// @dev An active root over the accounts 0x101, 0x102, ... with `amount` each.
    function active(uint160 count, uint128 amount) internal returns (RewardsDistributor.Claim[] memory claims) {
        bytes32[] memory leaves = new bytes32[](count);
        for (uint160 i = 0; i < count; ++i) {
            leaves[i] = distributor.leafOf(address(0x101 + i), amount);
        }
        propose(1, Merkle.root(leaves), uint128(count) * amount);
        pass(WINDOW);
        claims = new RewardsDistributor.Claim[](count);
        for (uint160 i = 0; i < count; ++i) {
            claims[i] = RewardsDistributor.Claim(address(0x101 + i), amount, Merkle.proof(leaves, i));
        }
    }

    function solvent() internal view {
        uint128 owed = distributor.funded() - distributor.totalClaimed() + distributor.bonds();
        require(odd.balanceOf(address(distributor)) >= owed, "insolvent");
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    // --- a token that blacklists

    /// Code4rena found Merkl's disputes stuck for ever when the disputer was blacklisted meanwhile.
    function test_aBlacklistedChallengerKeepsNoWrongRootInPlace() public {
        propose(1, keccak256("r"), 0);
        vm.prank(CAROL);
        distributor.challenge(1, keccak256("r"), "");
        odd.blacklist(CAROL, true);
        vm.prank(ARBITER);
        distributor.resolve(1, keccak256("r"), false);
        eq(distributor.lastEpoch(), 0);
        refuse(abi.encodeWithSelector(OddToken.Blacklisted.selector, CAROL));
        vm.prank(CAROL);
        distributor.takeBond(CAROL);
        eq(distributor.bondOf(CAROL), BOND);
        vm.prank(CAROL);
        eq(distributor.takeBond(address(0xBEEF)), BOND);
        eq(odd.balanceOf(address(0xBEEF)), BOND);
    }

    function test_aBlacklistedAccountBlocksNobodyAndLosesNothing() public {
        distributor.fund(90);
        RewardsDistributor.Claim[] memory claims = active(3, 30);
        odd.blacklist(address(0x102), true);
        refuse(abi.encodeWithSelector(OddToken.Blacklisted.selector, address(0x102)));
        distributor.claim(address(0x102), 30, 1, claims[1].proof);
        eq(distributor.claimMany(1, claims), 60);
        eq(distributor.claimed(address(0x102)), 0);
        odd.blacklist(address(0x102), false);
        eq(distributor.claim(address(0x102), 30, 1, claims[1].proof), 30);
        solvent();
    }

    // --- a token that returns false

    function test_aTokenThatSaysFalsePaysNothingAndBooksNothing() public {
        distributor.fund(60);
        escrow.deposit(60);
        RewardsDistributor.Claim[] memory claims = active(2, 30);
        odd.sayFalse(true);
        bytes memory failed = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd));
        refuse(failed);
        distributor.claim(address(0x101), 30, 1, claims[0].proof);
        eq(distributor.claimMany(1, claims), 0);
        eq(distributor.claimed(address(0x101)), 0);
        eq(distributor.totalClaimed(), 0);
        refuse(failed);
        distributor.fund(60);
        refuse(failed);
        escrow.deposit(60);
        propose(2, keccak256("r"), 60);
        refuse(failed);
        vm.prank(CAROL);
        distributor.challenge(2, keccak256("r"), "");
        eq(distributor.frozenFrom(), 0);
        eq(escrow.balanceOf(address(this)), 60);
        escrow.initiateWithdraw(60);
        pass(DELAY);
        refuse(failed);
        escrow.finalizeWithdraw();
        odd.sayFalse(false);
        escrow.finalizeWithdraw();
        eq(distributor.claimMany(1, claims), 60);
        solvent();
    }

    // --- a token that reverts

    function test_aTokenThatRevertsWithWordsIsHeardAndBooksNothing() public {
        reverting(abi.encodeWithSignature("Error(string)", "the token is paused"));
    }

    function test_aTokenThatRevertsByNameIsHeardAndBooksNothing() public {
        reverting(abi.encodeWithSelector(OddToken.Paused.selector, 7));
    }

    /// Whatever moves tokens fails with the token's own words and leaves the books as they were; batches go by; and once
    /// the token works again all of it goes through.
    function reverting(bytes memory failure) private {
        distributor.fund(90);
        escrow.deposit(60);
        escrow.initiateWithdraw(60);
        bytes32[] memory leaves = new bytes32[](3);
        address[3] memory accounts = [vm.addr(KEY), address(0x102), address(0x103)];
        for (uint256 i = 0; i < 3; ++i) {
            leaves[i] = distributor.leafOf(accounts[i], 30);
        }
        propose(1, Merkle.root(leaves), 90);
        propose(2, keccak256("wrong"), 90);
        vm.prank(CAROL);
        distributor.challenge(2, keccak256("wrong"), "");
        vm.prank(ARBITER);
        distributor.resolve(2, keccak256("wrong"), false); // a bond to take
        odd.transfer(CAROL, BOND);
        vm.prank(CAROL);
        odd.approve(address(distributor), BOND);
        pass(DELAY);
        propose(2, keccak256("r"), 90);

        odd.failWith(failure);
        refuse(failure);
        distributor.fund(1);
        refuse(failure);
        escrow.deposit(1);
        refuse(failure);
        vm.prank(CAROL);
        distributor.challenge(2, keccak256("r"), "");
        refuse(failure);
        vm.prank(CAROL);
        distributor.takeBond(CAROL);
        refuse(failure);
        escrow.finalizeWithdraw();
        RewardsDistributor.SignedClaim memory signed = signedClaim(KEY, address(0xBEEF), 30, 0, Merkle.proof(leaves, 0));
        refuse(failure);
        distributor.claimWithSig(signed, 1, 0);
        refuse(failure);
        distributor.claim(accounts[1], 30, 1, Merkle.proof(leaves, 1));
        RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](1);
        claims[0] = RewardsDistributor.Claim(accounts[2], 30, Merkle.proof(leaves, 2));
        vm.expectEmit(true, true, true, true, address(distributor));
        emit RewardsDistributor.ClaimSkipped(accounts[2], 1, 30);
        eq(distributor.claimMany(1, claims), 0);

        eq(distributor.funded(), 90);
        eq(distributor.totalClaimed(), 0);
        for (uint256 i = 0; i < 3; ++i) {
            eq(distributor.claimed(accounts[i]), 0);
        }
        eq(distributor.bonds(), BOND);
        eq(distributor.bondOf(CAROL), BOND);
        eq(distributor.frozenFrom(), 0);
        eq(escrow.balanceOf(address(this)), 60);
        (uint128 asked,) = escrow.withdrawals(address(this));
        eq(asked, 60);

        odd.failWith("");
        distributor.fund(1);
        escrow.deposit(1);
        vm.prank(CAROL);
        distributor.challenge(2, keccak256("r"), "");
        vm.prank(CAROL);
        eq(distributor.takeBond(CAROL), BOND);
        escrow.finalizeWithdraw();
        eq(distributor.claimWithSig(signed, 1, 0), 30);
        eq(distributor.claim(accounts[1], 30, 1, Merkle.proof(leaves, 1)), 30);
        eq(distributor.claimMany(1, claims), 30);
        eq(odd.balanceOf(address(0xBEEF)), 30);
        eq(escrow.balanceOf(address(this)), 1);
        eq(distributor.bonds(), BOND);
        solvent();
    }

    // --- a token that takes a fee on transfer

    function test_aFeeOnTransferIsNotPromisedToAnybody() public {
        odd.takeFee(100);
        distributor.fund(1000);
        eq(distributor.funded(), 990);
        refuse(abi.encodeWithSelector(IEpochRoots.Insolvent.selector, 1000, 990));
        propose(1, keccak256("r"), 1000);
        propose(1, keccak256("r"), 990);
        refuse(abi.encodeWithSelector(IEpochRoots.BondIncomplete.selector, BOND * 99 / 100, BOND));
        vm.prank(CAROL);
        distributor.challenge(1, keccak256("r"), "");
        eq(distributor.bonds(), 0);
        refuse(abi.encodeWithSelector(InferenceEscrow.DepositIncomplete.selector, 990, 1000));
        escrow.deposit(1000);
        eq(escrow.balanceOf(address(this)), 0);
        solvent();
    }

    function test_aClaimPaysItsWholeAmountAndTheFeeIsTheReceivers() public {
        distributor.fund(1000);
        RewardsDistributor.Claim[] memory claims = active(2, 500);
        odd.takeFee(100);
        eq(distributor.claim(address(0x101), 500, 1, claims[0].proof), 500);
        eq(odd.balanceOf(address(0x101)), 495);
        eq(distributor.claimed(address(0x101)), 500);
        solvent();
    }

    // --- every way in, and the way from the escrow to the distributor

    function test_noWayInCreditsWhatDidNotArrive() public {
        InferenceEscrow.TransferAuthorisation memory signed; // this token does not look at it
        bytes[4] memory ways = [
            abi.encodeCall(escrow.deposit, (1000)),
            abi.encodeCall(escrow.depositFor, (CAROL, 1000)),
            abi.encodeCall(escrow.depositWithPermit, (address(this), 1000, 0, 0, 0, 0)),
            abi.encodeCall(escrow.depositWithAuthorization, (address(this), 1000, signed))
        ];
        for (uint256 i = 0; i < 4; ++i) {
            odd.takeFee(100);
            refused(ways[i], abi.encodeWithSelector(InferenceEscrow.DepositIncomplete.selector, 990, 1000));
            odd.takeFee(0);
            odd.failWith(abi.encodeWithSelector(OddToken.Paused.selector, 7));
            refused(ways[i], abi.encodeWithSelector(OddToken.Paused.selector, 7));
            odd.failWith("");
            if (i < 3) {
                odd.sayFalse(true);
                refused(ways[i], abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd)));
                odd.sayFalse(false);
            }
        }
        eq(odd.balanceOf(address(escrow)), 0);
        eq(escrow.balanceOf(address(this)) + escrow.balanceOf(CAROL), 0);
        for (uint256 i = 0; i < 4; ++i) {
            (bool done,) = address(escrow).call(ways[i]);
            require(done, "refused a token that behaves");
        }
        eq(escrow.balanceOf(address(this)), 3000);
        eq(escrow.balanceOf(CAROL), 1000);
    }

    function refused(bytes memory way, bytes memory reason) private {
        (bool done, bytes memory answer) = address(escrow).call(way);
        require(!done, "went through");
        eq(keccak256(answer), keccak256(reason));
    }

    function test_aRedemptionThatCannotBePaidIsNone() public {
        InferenceEscrow.Redemption[] memory list = spent(1000);
        odd.sayFalse(true);
        refuse(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd)));
        vm.prank(OPERATOR);
        escrow.redeem(list);
        odd.sayFalse(false);
        odd.failWith(abi.encodeWithSelector(OddToken.Paused.selector, 7));
        refuse(abi.encodeWithSelector(OddToken.Paused.selector, 7));
        vm.prank(OPERATOR);
        escrow.redeem(list);
        odd.failWith("");
        eq(escrow.balanceOf(vm.addr(KEY)), 1000);
        eq(distributor.funded(), 0);
        vm.prank(OPERATOR);
        eq(escrow.redeem(list), 1000);
        eq(distributor.funded(), 1000);
        solvent();
    }

    /// A token that begins to take a fee when it is deposited already. The payer owes what it signed for; what the fee
    /// took is promised to nobody.
    function test_aFeeOnARedemptionIsPromisedToNobody() public {
        InferenceEscrow.Redemption[] memory list = spent(1000);
        odd.takeFee(100);
        vm.prank(OPERATOR);
        eq(escrow.redeem(list), 1000);
        eq(escrow.balanceOf(vm.addr(KEY)), 0);
        eq(distributor.funded(), 990);
        refuse(abi.encodeWithSelector(IEpochRoots.Insolvent.selector, 1000, 990));
        propose(1, keccak256("r"), 1000);
        propose(1, keccak256("r"), 990);
        solvent();
    }

    /// @dev A payer's deposit, and its word that all of it is spent.
    function spent(uint128 amount) private returns (InferenceEscrow.Redemption[] memory list) {
        address payer = vm.addr(KEY);
        escrow.depositFor(payer, amount);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, escrow.authorisationDigest(payer, amount, 2e9));
        list = new InferenceEscrow.Redemption[](1);
        list[0] = InferenceEscrow.Redemption(payer, amount, amount, 2e9, abi.encodePacked(r, s, v));
    }

    // --- a token that calls back

    function test_nothingIsCountedTwiceByCallingBack() public {
        bytes memory reentered = abi.encodeWithSelector(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        odd.callBack(address(distributor), abi.encodeCall(distributor.fund, (10)));
        refuse(reentered);
        distributor.fund(10);
        odd.callBack(address(0), "");
        distributor.fund(60);
        RewardsDistributor.Claim[] memory claims = active(2, 30);
        odd.callBack(address(distributor), abi.encodeCall(distributor.claim, (address(0x102), 30, 1, claims[1].proof)));
        refuse(reentered);
        distributor.claim(address(0x101), 30, 1, claims[0].proof);
        // In a batch the leaf in whose transfer it happens is skipped, and pays later.
        eq(distributor.claimMany(1, claims), 0);
        odd.callBack(address(0), "");
        eq(distributor.claimMany(1, claims), 60);
        solvent();
    }

    // --- a proof that worked

    function test_oldProofsAndOtherPeoplesProofsPayNothing() public {
        distributor.fund(60);
        RewardsDistributor.Claim[] memory claims = active(2, 30);
        distributor.claim(address(0x101), 30, 1, claims[0].proof);
        refuse(abi.encodeWithSelector(RewardsDistributor.NothingToClaim.selector, address(0x101), 30));
        distributor.claim(address(0x101), 30, 1, claims[0].proof);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, address(0x102)));
        distributor.claim(address(0x102), 30, 1, claims[0].proof);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, CAROL));
        distributor.claim(CAROL, 30, 1, claims[1].proof);
        for (uint64 epoch = 2; epoch <= 9; ++epoch) {
            propose(epoch, keccak256("r"), 60);
            pass(WINDOW);
        }
        refuse(abi.encodeWithSelector(IEpochRoots.EpochUnknown.selector, 1));
        distributor.claim(address(0x102), 30, 1, claims[1].proof);
    }
}
