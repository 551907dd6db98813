// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {Base} from "./Base.sol";

contract OpenTokenTest is Base {
    function test_genesisSupplyGoesToTheTreasury() public view {
        eq(token.balanceOf(TREASURY), SUPPLY);
        eq(token.totalSupply(), SUPPLY);
        eq(token.cap(), 10 * SUPPLY);
        eq(token.decimals(), 18);
    }

    function test_supplyAboveTheCapReverts() public {
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, 101, 100));
        new OpenToken(TREASURY, 101, 100);
    }

    function testFuzz_permitLetsTheSpenderTakeExactlyTheValue(uint256 key, uint128 value) public {
        key = 1 + key % (2 ** 128);
        value = value % SUPPLY;
        address owner = vm.addr(key);
        give(owner, value);
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                address(this),
                value,
                token.nonces(owner),
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
        token.permit(owner, address(this), value, block.timestamp, v, r, s);
        eq(token.allowance(owner, address(this)), value);
        token.transferFrom(owner, address(0xBEEF), value);
        eq(token.balanceOf(address(0xBEEF)), value);
    }

    // --- transfers by signature (ERC-3009)

    uint256 internal constant KEY = 0xB0B;
    bytes32 internal constant NONCE = keccak256("any 32 bytes");
    string internal constant FIELDS =
        "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";

    function signedTransfer(string memory kind, address to, uint256 value)
        internal
        view
        returns (uint8 v, bytes32 r, bytes32 s)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(bytes(string.concat(kind, FIELDS))),
                vm.addr(KEY),
                to,
                value,
                block.timestamp - 1,
                block.timestamp + 1,
                NONCE
            )
        );
        return vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
    }

    function move(address to, uint256 value, uint8 v, bytes32 r, bytes32 s) internal {
        token.transferWithAuthorization(
            vm.addr(KEY), to, value, block.timestamp - 1, block.timestamp + 1, NONCE, v, r, s
        );
    }

    function test_aSignedTransferIsSentByAnyoneOnce() public {
        give(vm.addr(KEY), 100);
        (uint8 v, bytes32 r, bytes32 s) = signedTransfer("TransferWithAuthorization", address(0xBEEF), 60);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
        move(address(0xBEEF), 61, v, r, s);
        move(address(0xBEEF), 60, v, r, s);
        eq(token.balanceOf(address(0xBEEF)), 60);
        require(token.authorizationState(vm.addr(KEY), NONCE), "not used");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, vm.addr(KEY), NONCE));
        move(address(0xBEEF), 60, v, r, s);
    }

    function test_aSignedTransferHasItsTime() public {
        give(vm.addr(KEY), 100);
        (uint256 from, uint256 to) = (block.timestamp - 1, block.timestamp + 1);
        (uint8 v, bytes32 r, bytes32 s) = signedTransfer("TransferWithAuthorization", address(0xBEEF), 60);
        bytes memory outside = abi.encodeWithSelector(ERC3009.ERC3009InvalidAuthorizationTime.selector, from, to);
        vm.warp(to);
        vm.expectRevert(outside);
        token.transferWithAuthorization(vm.addr(KEY), address(0xBEEF), 60, from, to, NONCE, v, r, s);
        vm.warp(from);
        vm.expectRevert(outside);
        token.transferWithAuthorization(vm.addr(KEY), address(0xBEEF), 60, from, to, NONCE, v, r, s);
    }

    /// What a contract is to book is sent to it by itself alone: else the money could come without being booked.
    function test_onlyThePayeeTakesWhatItIsToReceive() public {
        give(vm.addr(KEY), 100);
        (uint256 from, uint256 to) = (block.timestamp - 1, block.timestamp + 1);
        (uint8 v, bytes32 r, bytes32 s) = signedTransfer("ReceiveWithAuthorization", address(0xBEEF), 60);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(0xBEEF)));
        token.receiveWithAuthorization(vm.addr(KEY), address(0xBEEF), 60, from, to, NONCE, v, r, s);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
        move(address(0xBEEF), 60, v, r, s);
        vm.prank(address(0xBEEF));
        token.receiveWithAuthorization(vm.addr(KEY), address(0xBEEF), 60, from, to, NONCE, v, r, s);
        eq(token.balanceOf(address(0xBEEF)), 60);
    }

    function test_aSignedTransferCanBeTakenBack() public {
        give(vm.addr(KEY), 100);
        (uint8 v, bytes32 r, bytes32 s) = signedTransfer("TransferWithAuthorization", address(0xBEEF), 60);
        bytes32 structHash = keccak256(
            abi.encode(keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), vm.addr(KEY), NONCE)
        );
        (uint8 cv, bytes32 cr, bytes32 cs) =
            vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
        token.cancelAuthorization(vm.addr(KEY), NONCE, cv, cr, cs);
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, vm.addr(KEY), NONCE));
        move(address(0xBEEF), 60, v, r, s);
    }
}
