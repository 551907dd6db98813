// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IEpochRoots} from "../src/IEpochRoots.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle, Wallet} from "./Base.sol";

/// @dev Claims that an account signed, and every way to misuse a signature.
contract ClaimWithSigTest is Base {
    uint256 internal constant KEY = 0xA11CE;
    address internal constant SAFE = address(0x5AFE);
    address internal constant RELAYER = address(0x2E1A);
    /// @dev The order of secp256k1.
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    /// @dev An active root in which KEY's account has `amount`; one other account has the rest of what is funded.
    function earned(uint64 epoch, uint128 amount) internal returns (bytes32[] memory proof) {
        return earned(vm.addr(KEY), epoch, amount);
    }

    function earned(address account, uint64 epoch, uint128 amount) internal returns (bytes32[] memory proof) {
        fund(amount + 1 - distributor.funded());
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = distributor.leafOf(account, amount);
        leaves[1] = distributor.leafOf(address(1), 1);
        propose(epoch, Merkle.root(leaves), amount + 1);
        pass(WINDOW);
        return Merkle.proof(leaves, 0);
    }

    function send(RewardsDistributor.SignedClaim memory c, uint128 fee) internal returns (uint128) {
        vm.prank(RELAYER);
        return distributor.claimWithSig(c, 1, fee);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    function test_theMoneyGoesWhereTheAccountSaysLessTheRelayersFee() public {
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 7, earned(1, 100));
        vm.expectEmit(true, true, true, true, address(distributor));
        emit RewardsDistributor.Claimed(c.account, 1, 100, 100);
        vm.expectEmit(true, true, true, true, address(distributor));
        emit RewardsDistributor.PaidTo(c.account, SAFE, RELAYER, 5);
        eq(send(c, 5), 100);
        eq(token.balanceOf(SAFE), 95);
        eq(token.balanceOf(RELAYER), 5);
        eq(token.balanceOf(c.account), 0);
        eq(distributor.claimed(c.account), 100);
        eq(distributor.totalClaimed(), 100);
    }

    function test_theRelayerTakesNoMoreThanWasSignedNorThanIsPaid() public {
        bytes32[] memory proof = earned(1, 100);
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 7, proof);
        refuse(abi.encodeWithSelector(RewardsDistributor.FeeTooHigh.selector, 8, 7));
        send(c, 8);
        c = signedClaim(KEY, SAFE, 100, 1000, proof);
        refuse(abi.encodeWithSelector(RewardsDistributor.FeeTooHigh.selector, 101, 100));
        send(c, 101);
        eq(send(c, 100), 100);
        eq(token.balanceOf(RELAYER), 100);
    }

    function test_aUsedSignatureIsRefused() public {
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 0, earned(1, 100));
        send(c, 0);
        refuse(abi.encodeWithSelector(RewardsDistributor.NothingToClaim.selector, c.account, 100));
        send(c, 0);
    }

    /// Also after more was earned: what was signed for is what was paid.
    function test_anOldSignatureTakesNothingOfWhatCameLater() public {
        RewardsDistributor.SignedClaim memory old = signedClaim(KEY, SAFE, 100, 50, earned(1, 100));
        bytes32[] memory proof = earned(2, 300);
        distributor.claim(old.account, 300, 2, proof);
        refuse(abi.encodeWithSelector(RewardsDistributor.NothingToClaim.selector, old.account, 300));
        send(old, 50);
        eq(token.balanceOf(old.account), 300);
    }

    function test_anExpiredSignatureIsRefused() public {
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 0, earned(1, 100));
        vm.warp(c.deadline + 1);
        refuse(abi.encodeWithSelector(RewardsDistributor.SignatureExpired.selector, c.account, c.deadline));
        send(c, 0);
        vm.warp(c.deadline);
        eq(send(c, 0), 100);
    }

    function test_everyFieldIsSigned() public {
        bytes32[] memory proof = earned(1, 100);
        for (uint256 field = 0; field < 5; ++field) {
            RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 7, proof);
            if (field == 0) c.to = RELAYER;
            if (field == 1) c.maxFee = 8;
            if (field == 2) ++c.deadline;
            if (field == 3) c.cumulative = 99;
            if (field == 4) c.account = address(1);
            refuse(abi.encodeWithSelector(RewardsDistributor.InvalidSignature.selector, c.account));
            send(c, 0);
        }
    }

    function test_aSignatureHoldsOnOneChainAndForOneDistributor() public {
        bytes32[] memory proof = earned(1, 100);
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 0, proof);
        uint256 here = block.chainid;
        vm.chainId(here + 1);
        refuse(abi.encodeWithSelector(RewardsDistributor.InvalidSignature.selector, c.account));
        send(c, 0);
        vm.chainId(here);
        RewardsDistributor other = new RewardsDistributor(token, terms());
        refuse(abi.encodeWithSelector(RewardsDistributor.InvalidSignature.selector, c.account));
        other.claimWithSig(c, 1, 0);
    }

    function test_aMalleableSignatureIsRefused() public {
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 0, earned(1, 100));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(KEY, distributor.claimDigest(c.account, c.to, c.cumulative, c.maxFee, c.deadline));
        bytes32 twin = bytes32(ORDER - uint256(s));
        bytes[4] memory others = [
            abi.encodePacked(r, twin, v == 27 ? uint8(28) : uint8(27)),
            abi.encodePacked(r, s, v - 27),
            abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255))), // 64 bytes, EIP-2098
            abi.encodePacked(r, s, v, uint8(0))
        ];
        for (uint256 i = 0; i < 4; ++i) {
            c.signature = others[i];
            refuse(abi.encodeWithSelector(RewardsDistributor.InvalidSignature.selector, c.account));
            send(c, 0);
        }
        c.signature = abi.encodePacked(r, s, v);
        eq(send(c, 0), 100);
    }

    function test_nobodySignsForTheZeroAddressAndNothingGoesThere() public {
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, address(0), 100, 0, earned(1, 100));
        refuse(abi.encodeWithSelector(IEpochRoots.ZeroAddress.selector));
        send(c, 0);
        c.to = SAFE;
        c.account = address(0);
        c.signature = new bytes(65);
        refuse(abi.encodeWithSelector(RewardsDistributor.InvalidSignature.selector, address(0)));
        send(c, 0);
    }

    /// A signature replaces neither the proof nor the root.
    function test_aSignatureForWhatWasNotEarnedIsRefused() public {
        bytes32[] memory proof = earned(1, 100);
        RewardsDistributor.SignedClaim memory more = signedClaim(KEY, SAFE, 101, 0, proof);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, more.account));
        send(more, 0);
        RewardsDistributor.SignedClaim memory other = signedClaim(KEY + 1, SAFE, 100, 0, proof);
        refuse(abi.encodeWithSelector(IEpochRoots.InvalidProof.selector, other.account));
        send(other, 0);
    }

    function test_contractWalletsSignByErc1271() public {
        Wallet wallet = new Wallet();
        RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, 100, 3, earned(address(wallet), 1, 100));
        c.account = address(wallet);
        refuse(abi.encodeWithSelector(RewardsDistributor.InvalidSignature.selector, c.account));
        send(c, 3);
        wallet.accept(distributor.claimDigest(c.account, SAFE, 100, 3, c.deadline));
        eq(send(c, 3), 100);
        eq(token.balanceOf(SAFE), 97);
    }

    /// However an account's claims are mixed, and whoever sends them, it gets what it earned, less fees it signed.
    function testFuzz_everyClaimPaysTheIncreaseOnce(uint64[4] calldata steps, uint8 ways, uint64 maxFee) public {
        uint128 cumulative = 0;
        uint128 fees = 0;
        for (uint64 epoch = 1; epoch <= 4; ++epoch) {
            uint128 before = cumulative;
            cumulative += 1 + uint128(steps[epoch - 1]);
            bytes32[] memory proof = earned(epoch, cumulative);
            if (ways >> (epoch - 1) & 1 == 0) {
                distributor.claim(vm.addr(KEY), cumulative, epoch, proof);
                continue;
            }
            uint128 fee = maxFee < cumulative - before ? maxFee : cumulative - before;
            RewardsDistributor.SignedClaim memory c = signedClaim(KEY, SAFE, cumulative, maxFee, proof);
            vm.prank(RELAYER);
            distributor.claimWithSig(c, epoch, fee);
            fees += fee;
        }
        eq(token.balanceOf(RELAYER), fees);
        eq(token.balanceOf(SAFE) + token.balanceOf(vm.addr(KEY)), cumulative - fees);
        eq(token.balanceOf(address(distributor)), 1);
    }
}
